"""GStreamer's RTSP server of one film, for Debian's Python, which has its bindings.

Usage: python3 rtsp_server.py FILM.ts PORT [USER:PASSWORD]
"""

from __future__ import annotations

import sys

import gi  # pyright: ignore[reportMissingImports]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    GLib,
    Gst,
    GstRtspServer,
)


def main() -> None:
    film, port, *account = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    # The payloader sends the parameter sets with every keyframe, as cameras do.
    factory.set_launch(
        f"( filesrc location={film} ! tsdemux ! h264parse ! "
        "rtph264pay name=pay0 pt=96 config-interval=-1 )"
    )
    factory.set_shared(False)
    if account:
        user, _, password = account[0].partition(":")
        auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "guest")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        allowed = Gst.Structure.new_from_string(
            "guest, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        )
        factory.add_role_from_structure(allowed)
    server.get_mount_points().add_factory("/film", factory)
    server.attach(None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
