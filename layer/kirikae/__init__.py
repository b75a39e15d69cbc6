"""The layer: the reconciler's loop and the AWS calls that all share, and a package for each capability."""

import gc
import os

if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:  # read here, because importing env.py is what the next line is about
    gc.disable()  # INIT allocates much and frees nothing: a tenth of a cold start. `reconcile.warm_up` ends it.
