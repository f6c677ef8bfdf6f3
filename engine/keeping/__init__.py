"""How long finished tasks are kept, and the files that they leave."""
