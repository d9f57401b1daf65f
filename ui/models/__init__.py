"""Models between the session and the widgets: state, settings, totals, tables, actions.

They turn changes of the session into Qt signals, and clicks into calls of the session. Every other
package of `ui` except `texts` and `style` may import them. They know nothing of widgets.
"""
