"""Published claims about efficient networks, each checked by a small function: `nas claims`.

`claim` says what a claim and a check are, `lab` what a check may use, `registry` finds them, `examination` runs them,
`page` shows them. Every other module holds the claims, or more checks of them, of one family of networks; a new module is
found by itself.
"""
