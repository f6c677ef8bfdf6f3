"""What is installed here and under which terms: `compliance/dependency_audit` looks and writes a report."""
