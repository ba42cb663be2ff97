"""Every message on every topic, as immutable pydantic models; importing this package registers them all."""

from schemas import commands, events, replies, requests
from schemas.base import Message, message_class, message_classes

__all__ = ["Message", "commands", "events", "message_class", "message_classes", "replies", "requests"]
