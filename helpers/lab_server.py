"""JupyterLab's socket to a kernel, without Nagle's delay: `make notebooks` names this class to the server."""

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """A kernel's answers leave at once. By default the second small one waits for the first's receipt, some 40 ms."""

    async def connect(self) -> None:
        self.websocket_handler.set_nodelay(True)
        await super().connect()
