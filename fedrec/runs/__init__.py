"""fedrec/runs"""
