"""A local identity provider, in the shape of Google (OpenID Connect) and of GitHub (OAuth 2 and ``/user``)."""
