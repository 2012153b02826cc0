#pragma once

// The same for unit tests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "code.h"
