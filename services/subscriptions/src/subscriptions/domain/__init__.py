"""The rules of subscriptions: pure decisions over plain values; nothing here touches a server."""
