"""An update from assignment to commit: the policy, its journal, its steps, and who drives them."""
