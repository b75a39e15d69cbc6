"""What the functions share: the reconciler's steps and the few AWS calls behind them."""

import gc
import os

if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:  # read here, because importing env.py is what the next line is about
    gc.disable()  # INIT allocates much and frees nothing: a tenth of a cold start. `reconcile.prime` ends it.
