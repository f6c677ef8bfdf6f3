"""What an order must hold to be accepted: the JSON Schema of `process_order`, written once for 1.0.0; 2.0.0 declares its own in YAML."""

from typing import Any

ORDER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["cart_items", "payment_info", "customer_info"],
    "properties": {
        "cart_items": {
            "type": "array",
            "title": "Cart",
            "items": {
                "type": "object",
                "title": "Product",
                "properties": {
                    "product_id": {"type": "integer", "title": "Product number"},
                    "quantity": {"type": "integer", "minimum": 1, "title": "Quantity"},
                    "price": {"type": "number", "minimum": 0, "title": "Price as shown", "description": "The catalogue's price is what counts."},
                    "name": {"type": "string", "title": "Name"},
                },
            },
        },
        "payment_info": {
            "type": "object",
            "title": "Payment",
            "properties": {
                "method": {"type": "string", "enum": ["credit_card", "debit_card", "paypal", "bank_transfer"], "title": "Method"},
                "amount": {
                    "type": "number",
                    "minimum": 0,
                    "title": "Amount",
                    "description": "What the customer agreed to pay; left empty, the total of the cart.",
                },
                "currency": {"type": "string", "enum": ["USD", "EUR", "GBP"], "default": "USD", "title": "Currency"},
                "card_last_four": {"type": "string", "title": "Last four digits"},
                "token": {
                    "type": "string",
                    "title": "Token",
                    "description": "Try test_success_1, test_temp_fail_1, test_insufficient_1 or test_outage_1 to see each outcome.",
                },
            },
        },
        "customer_info": {
            "type": "object",
            "title": "Customer",
            "required": ["email", "name"],
            "properties": {
                "id": {"type": "integer", "title": "Customer number"},
                "email": {"type": "string", "title": "Email"},
                "name": {"type": "string", "title": "Name"},
                "phone": {"type": "string", "title": "Phone"},
                "tier": {"type": "string", "enum": ["standard", "premium", "enterprise"], "default": "standard", "title": "Tier"},
            },
        },
        "shipping_info": {
            "type": "object",
            "title": "Shipping address",
            "properties": {
                "address": {"type": "string", "title": "Street"},
                "city": {"type": "string", "title": "City"},
                "state": {"type": "string", "title": "State"},
                "zip": {"type": "string", "title": "ZIP code"},
                "country": {"type": "string", "title": "Country"},
            },
        },
        "priority": {"type": "string", "enum": ["standard", "express", "overnight"], "default": "standard", "title": "Priority"},
    },
}
