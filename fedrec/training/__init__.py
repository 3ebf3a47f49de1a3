"""fedrec/training"""
