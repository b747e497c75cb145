"""From a device's raw samples to a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latency.measurement import Measurement
from nas.devices.messages import MAX_PAIRS, JobRequest


class MalformedReportError(ValueError):
    """A report that does not answer its job; the attempt goes on."""


def analysed(answer: Mapping[str, Any], request: JobRequest) -> Measurement:
    """The device's samples with the figures that follow from them here; what it computed itself is not used.

    Raises:
        MalformedReportError: no measurement, or not the one that `request` asks for.
    """
    try:
        told = Measurement.from_dict(answer)
        if (told.candidate_sha256, told.reference_sha256) != (request.candidate, request.reference):
            raise MalformedReportError("the measurement is of other models than the job's")
        shas = {"candidate_sha256": told.candidate_sha256, "reference_sha256": told.reference_sha256}
        if (num_pairs := sum(map(len, told.sessions))) > MAX_PAIRS:
            raise MalformedReportError(f"{num_pairs} pairs, at most {MAX_PAIRS} are read")
        if not told.sessions:
            reason = told.reason or "no samples, and no reason given"
            return Measurement.failure(reason, **shas, device=told.device)
        return Measurement.from_sessions(
            told.sessions,
            **shas,
            device=told.device,
            environment=told.environment,
            goal=request.meter_settings.goal,
        )
    except MalformedReportError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise MalformedReportError(f"not a measurement: {type(error).__name__}: {error}") from None
