"""Load on wallets: people who pay, deposit, withdraw and are refunded, all at once and half of them on one wallet."""
