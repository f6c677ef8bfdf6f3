"""How fast the product is here: `tasker bench`, and the programs beside it, each of which measures one thing."""
