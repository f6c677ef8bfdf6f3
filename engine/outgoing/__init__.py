"""News that leave the house: webhooks and e-mail to those who asked for them."""
