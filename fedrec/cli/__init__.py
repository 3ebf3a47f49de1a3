"""fedrec/cli"""
