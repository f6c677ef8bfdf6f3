"""A web shop's orders: `ecommerce/process_order`, one step after the other in 1.0.0, side by side in 2.0.0.

`checkout` and `fulfilment` hold the steps; `pricing`, `payments`, `mail`, `labels` and `shop` are the services they call.
"""
