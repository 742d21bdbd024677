"""Alerts: what is wrong with boards, rollouts and the site, told to people where they are."""
