"""Published claims about efficient networks, each checked by a small function: `nas claims`.

`claim` says what a claim and a check are, `lab` what a check may use, `registry` finds them, `examination` runs them,
`page` shows them. Every other module holds the claims, or more checks of them, of one family of networks; a new module is
found by itself. Adding a claim is adding one function:

    @claim(56, "What it says.", published="the figure", source="paper, table")
    def what_it_is_about(lab: Lab) -> Finding:
        macs = lab.count("mobilenet_v2").macs
        return Finding(f"{millions(macs)} MACs", verdict_of(printed_as(macs / 1e6, "300")))

Another way of checking it, by latency for example, is a function under ``@check(56, "latency")`` in any module.
"""
