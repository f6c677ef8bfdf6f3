"""A web shop's orders: `ecommerce/process_order`, one step after the other in 1.0.0, side by side in 2.0.0; and `ecommerce/return_goods`.

`checkout` and `fulfilment` hold the steps of an order, `returns` is a workflow with a decision and a map step; `pricing`, `payments`, `mail`, `labels` and `shop` are the services they call.
"""
