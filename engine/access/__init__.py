"""Who may do what: accounts, their passwords and tokens, what a role permits, and the record of what was done."""
