"""The HTTP and SMTP services, each really running, without a broker."""
