"""Latency on devices that join no cluster: a job server here, an agent that pulls on the device (`latency.agent`)."""
