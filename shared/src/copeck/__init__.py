"""What the services of Copeck share: kernel, contracts, storage, messaging, web and observability."""
