"""The generators of what is generated under `arch/`: message paths, state diagrams, schemas, AsyncAPI."""
