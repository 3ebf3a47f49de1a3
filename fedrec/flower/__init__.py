"""fedrec/flower"""
