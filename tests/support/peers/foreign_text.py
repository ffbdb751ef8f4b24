"""Writes bytes that are no UTF-8 into every text property of an element, and into its actions, as a program in C may.

`foreign_text.py ELEMENT...`: a line `ELEMENT PROPERTIES WARNINGS` for each. It speaks to GStreamer's C libraries alone.
"""

import ctypes
import sys

gst = ctypes.CDLL("libgstreamer-1.0.so.0")
gobject = ctypes.CDLL("libgobject-2.0.so.0")
NOT_TEXT = b"ab\xff\xfe"
STRING, WRITABLE = 16 << 2, 2
WARNING = 4


class ParamSpec(ctypes.Structure):
    _fields_ = [("instance", ctypes.c_void_p), ("name", ctypes.c_char_p), ("flags", ctypes.c_int), ("type", ctypes.c_size_t)]


def main(names):
    pointer = ctypes.c_void_p
    for function in (gst.gst_element_factory_make, gst.gst_bus_new, gst.gst_bus_pop_filtered):
        function.restype = pointer
    gobject.g_object_class_list_properties.restype = ctypes.POINTER(ctypes.POINTER(ParamSpec))
    gst.gst_init(None, None)
    for name in names:
        element = pointer(gst.gst_element_factory_make(name.encode(), None))
        if not element:
            sys.exit(f"there is no element {name}")
        bus = pointer(gst.gst_bus_new())
        gst.gst_element_set_bus(element, bus)
        kind = ctypes.cast(element, ctypes.POINTER(pointer))[0]
        count = ctypes.c_uint()
        specs = gobject.g_object_class_list_properties(pointer(kind), ctypes.byref(count))
        written = 0
        for spec in (specs[at].contents for at in range(count.value)):
            if spec.type == STRING and spec.flags & WRITABLE and spec.name not in (b"name", b"parent"):
                gobject.g_object_set(element, ctypes.c_char_p(spec.name), ctypes.c_char_p(NOT_TEXT), None)
                written += 1
        if b"parameters" in (specs[at].contents.name for at in range(count.value)):
            reply = ctypes.c_char_p()
            gobject.g_signal_emit_by_name(element, b"apply-parameters", ctypes.c_char_p(NOT_TEXT), ctypes.byref(reply))
            if not reply.value:
                sys.exit(f"{name} took it for a patch")
        warnings = 0
        while gst.gst_bus_pop_filtered(bus, WARNING):
            warnings += 1
        print(name, written, warnings, flush=True)


main(sys.argv[1:])
