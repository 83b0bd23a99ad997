"""What operators see: chat sessions with their transcripts, messages, runs and API tokens. All but a session's title is
read-only; tokens can be revoked.

Every list is made for millions of rows: rows come through an index, nothing counts or groups a whole table.
"""

from django.contrib import admin

from chat.admin import messages, runs, sessions, tokens, users

__all__ = ["messages", "runs", "sessions", "tokens", "users"]

admin.site.site_header = admin.site.site_title = "Tokenwire"
admin.site.index_title = "Administration"
# The lists are wide, and the index is one click away.
admin.site.enable_nav_sidebar = False
