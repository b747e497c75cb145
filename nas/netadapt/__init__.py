"""NetAdapt: a network's widths refined step by step to a budget (arXiv 1804.03230; 1905.02244, section 4.2)."""
