"""fedrec/privacy"""
