"""The method that made MobileNetV3, end to end: search, NetAdapt, redesign, final comparison."""
