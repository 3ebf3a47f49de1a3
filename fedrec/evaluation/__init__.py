"""fedrec/evaluation"""
