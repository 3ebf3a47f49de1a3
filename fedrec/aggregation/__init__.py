"""What the server makes of the replies of a round: rules that sum or choose, and monitors of what came out.

Pure: values in, values out. Knows no transport, no files and no privacy accountant.
"""
