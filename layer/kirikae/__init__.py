"""What the functions share: the reconciler's steps and the few AWS calls behind them."""
