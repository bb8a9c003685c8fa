"""What a buyer sees: the machine's drinks, the order, and what becomes of it; and the receipt that is e-mailed."""
