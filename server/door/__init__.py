"""The server's front door: certificates, enrolment, revocation, standing orders, published artefacts, the proxy."""
