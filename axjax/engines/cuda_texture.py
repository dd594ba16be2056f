def lut_conv(lhs, rhs, table, pad_code, geometry):
    raise NotImplementedError
