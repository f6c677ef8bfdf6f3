"""One trace per task, told to a collector: what happened is read, packed as OTLP, and sent by a process of its own."""
