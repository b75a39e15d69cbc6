"""The cold standby: what starts one, and sees it through until it serves."""
