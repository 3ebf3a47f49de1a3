"""fedrec/data"""
