"""What commands do to an invoice, split by what they are about: its terms, its payments, its refunds, disputes."""
