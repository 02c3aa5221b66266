"""asyncio: accepting, dialling, timers; hands sockets to the kernel."""
