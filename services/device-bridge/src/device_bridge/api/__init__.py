"""HTTP edges: the catalogue, orders and statements for merchants and managers; pages for buyers."""
