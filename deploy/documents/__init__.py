"""The generators of what is generated under `arch/`: message paths, problems, state diagrams, schemas, AsyncAPI."""
