"""The playground: a question as a person fills it in, its answers beside one another, and the same for programs.

`fields` reads what was typed, `asking` asks through the gateway as any caller would, `answers` makes tables of what
comes back, `views` is the page. What is allowed is the gateway's to say; the page shows it beside the field it names.
"""
