"""Emulators of payment providers. They import nothing of the product: they are what it is judged against."""
