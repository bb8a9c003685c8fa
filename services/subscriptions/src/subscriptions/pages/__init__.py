"""The customer's pages: the cabinet at `/`, and why an invoice was charged."""
