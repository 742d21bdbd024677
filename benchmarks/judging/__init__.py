"""Cases of `scripts/bench judge`: small models of every task, with as much fresh data as one likes."""
