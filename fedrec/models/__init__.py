"""fedrec/models"""
