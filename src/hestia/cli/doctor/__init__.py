"""`hestia doctor`: is what a gateway needs there, and what is to be done where it is not (CL-19).

Three parts: `world` gathers what is known beforehand, each module of checks looks at one thing and judges it
with plain functions, `rounds` runs them side by side with a limit for each. Nothing is changed or woken.
"""
